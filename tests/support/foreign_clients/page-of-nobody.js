// A site that loads nothing.
