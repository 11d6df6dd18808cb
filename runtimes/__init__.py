"""The boxes: each module starts one kind of box and hands over a handle. None of them measures."""
