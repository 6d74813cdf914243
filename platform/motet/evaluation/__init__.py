"""How good a recommender is: ranking metrics, task metrics and the report that shows them."""
