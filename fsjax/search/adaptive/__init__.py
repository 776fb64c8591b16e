"""`adaptive`: removal's top frequencies from a part of its forward passes."""
