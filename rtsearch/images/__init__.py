"""Read photos: size and format from the first bytes, then pixels, upright and bounded in memory."""
