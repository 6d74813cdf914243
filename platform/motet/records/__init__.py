"""Records of answers: what was asked, what stood to choose from, with which scores, and what was shown.

    record         one answer: the query and the numbers of its candidates, as arrays
    table          records as a parquet table, and back
    writer         a bounded queue and the one thread that writes files
    reader         the files of a folder
    replay         what the events of the log said of a user when the request was answered
    skew           the same requests through the offline path: what differs
    what_if        the same candidates under other weights: what changes
    impressions    records joined with events: training data

A file is there whole or not at all. A process that is killed loses what it had not yet written, no more.
"""
