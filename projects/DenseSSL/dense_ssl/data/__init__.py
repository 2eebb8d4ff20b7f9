"""Images, views and their geometry, loaders."""
