"""Laws that every backend must keep, and slow but independent answers to hold them against."""
