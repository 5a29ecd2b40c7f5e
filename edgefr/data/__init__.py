"""Face image collections, pair lists and degradations; nothing here needs torch."""
