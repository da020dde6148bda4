"""Pictures: first what is shown (info), then the drawing."""
