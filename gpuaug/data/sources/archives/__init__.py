"""Archives of many files, tar shards and zips, whose samples are found by an index and read in any order."""
