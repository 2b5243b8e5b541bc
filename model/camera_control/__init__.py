"""Ways in which a pose reaches the pixels of a model; which of them a model can do is `method.choose`'s answer."""
