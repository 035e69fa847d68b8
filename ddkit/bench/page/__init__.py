"""A bench as one HTML page that needs nothing else: no network, no server, no script to be read.

html.py     gathers what the page shows, and renders it
columns.py  the tables: what stands in each column, and what it is sorted by
charts.py   the geometry of the charts; heat.py that of the heat maps
images.py   contact sheets as data URIs
templates/, assets/  the markup; style and script, written into the page
"""
