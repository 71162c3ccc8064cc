"""What a directory says at first sight, in words: the same in the terminal and in a report."""
