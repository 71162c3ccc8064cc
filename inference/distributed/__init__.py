"""Several processes: how they meet, watch each other, and share rows, experts and fits."""
