"""Level 'fast': words as symbols and raw bits, symbols by grouped static tables and interleaved rANS."""
