"""Random harm for a while, each checked against what an undisturbed run leaves: `make soak`.

Read `works` (the commands that are attacked), `fuzz` (damaged files, tables and runs), `disturbed`
(kills, two at once, disks, clocks), `anomalies` (a data set in which every study has one), `kinds`
(all of it as one list), and `__main__`, which goes through the list and writes docs/soak.md.
"""
