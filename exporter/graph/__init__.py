"""The hub graph: builder, palettes, the LutToDense function, passes."""
