"""From one portrait to a surface: depth, normals, their integration, and the unseen side."""
