"""The oracle with one deliberate bug each: the suite has to catch every one of them."""
