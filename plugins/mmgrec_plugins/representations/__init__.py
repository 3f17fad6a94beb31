"""What learns vectors of users and items, for quantizers and recommenders alike."""
