"""What can go wrong with the catalog."""


class CatalogError(Exception):
    """The catalog or its service cannot do what was asked; the journals are not affected."""
