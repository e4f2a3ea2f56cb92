"""What torch's operators do with compressed weights, called directly and by compiled code."""
