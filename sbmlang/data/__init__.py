"""Tables and NetCDF files to data on a model's time axis; the only door for pandas and xarray.

``read_data`` and ``empty`` live in ``sbmlang.data.read`` and ``sbmlang.data.empty``.
"""

from sbmlang.data.dataset import Channel, Dataset, Series

__all__ = ["Channel", "Dataset", "Series"]
