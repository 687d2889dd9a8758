"""The season: who opens enrolment when, what that does to the departments, and a calendar that does less.

`windows` reads and writes the calendar, `assumptions` names what is assumed of applicants and departments, `simulation`
runs the queues, `proposal` staggers the openings, `report` gathers both sides, `chart` lays out the picture, `page` and
`picture` render it as HTML and PNG, `sample` makes the fictional province that ships with the package.

Pure, but for `picture`, which draws with an optional library: files, the clock and the terminal belong to the
command. Time is an integer: minutes of civil time since the day 0001-01-01 has number 1 (`date.toordinal`).
"""
