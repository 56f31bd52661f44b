"""What the four notebooks need to be a course: folders, data from Kaggle, figures, questions.

In: the settings of a notebook. Out: a `Workspace` with its folders, figures, and hints for answers.
Read `environment` (which machine is this?), `kaggle` (real data), `exams` (a real patient
without an account), `settings` (what was chosen), `workspace` (where is what?), `machine` (does it
fit?), `preparation` (all studies, prepared), `series` (what an exam holds), `cases` (which patients
a figure shows), `plots` (figures), `checks` (check-yourself cells, on questions.toml), `exercises`
(functions to write, and their tests), `quiz` (a learner beside a model) and `capstone` (hidden
studies, and a board of attempts). None of them needs torch.
"""
