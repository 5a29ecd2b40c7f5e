"""Who is this? People enrolled in one sealed file, and the search for a face among them."""
