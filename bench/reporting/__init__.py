"""From what was measured to what people read: figures, tables, charts, and the page in docs/. Pure."""
