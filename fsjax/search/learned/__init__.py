"""`learned`: masks found by gradients, one for each class and share."""
