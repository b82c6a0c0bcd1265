"""The Release and Deploy jobs of applications on a Jenkins: create them (``setup``) and run them (``run``). Internal.

``server`` speaks HTTP, ``responses`` reads the answers, ``jobs`` defines the jobs, ``config_xml`` writes their configuration,
``tracking`` finds and follows a build, ``hudson`` holds the differences of a Hudson. The jobs themselves call kubernaut.
"""
