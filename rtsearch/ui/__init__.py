"""Open the window, and find out about the display it opens on."""
