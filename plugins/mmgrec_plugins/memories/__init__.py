"""Item memories: which items of a history speak for which others, beside the generator."""
