"""All tests. A package, for a library of the voice installs one of this name too."""
