VERSION: str
__file__: str
