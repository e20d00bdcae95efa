"""One package per framework whose files or state pyckpt reads, writes or plugs into."""
