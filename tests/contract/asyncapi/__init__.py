"""The AsyncAPI document, held against the real AsyncAPI parser."""
