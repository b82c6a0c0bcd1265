"""What an operation has to do, decided from data alone: nothing here reads or changes a cluster.

``plan`` has the table of verbs and states; read it first. ``revisions`` chooses revisions and finds what an interrupted operation
left, ``leftovers`` what failed revisions brought, ``adoption`` the releases that became ready late, ``removed_kinds`` the records
that Helm cannot build any more.
"""
