"""The commands of the shell: what they ask, read, print and write."""
