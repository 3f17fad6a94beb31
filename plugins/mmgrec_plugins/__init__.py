"""Everything replaceable. The shipped plugins enter by the same entry point as anybody else's."""
