"""A local page for runs, comparisons and ideas: everything below, looked at while it happens.

`server` listens, `app` answers (its routes are the list of all addresses), `static/` is what the
browser gets. `index` knows every run folder (`card` reads one, `progress` follows its metrics,
`query` finds, sorts and compares), `live` tells a browser what has changed. A file for each page
makes its content: `run_page`, `curves`, `numerics`, `comparisons`, `idea_pages`, `formats_page`,
`text_page`. What needs torch happens in a process of its own (`workshop`, whose jobs are in
`heavy`), so that looking at runs stays small. `control` stops and resumes a run, `places` keeps
every path inside the runs' folder.
"""
