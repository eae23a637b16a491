"""What all commands share: options, standard streams, tables, failures, progress lines."""
