"""Find the objects of pictures and describe each with one vector, from one pass of the network."""
