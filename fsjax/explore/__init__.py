"""The live page, on which a person edits the frequencies of an image and sees what the model says."""
