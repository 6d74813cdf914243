def test_x(workspace):
    from motet.release.publish import Releases
    print(Releases(workspace).current())
