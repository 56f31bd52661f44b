"""python -m utils.audit ROOT --out audit.csv"""

from __future__ import annotations

from utils import cli
from utils.audit.report import audit, summary


def main() -> None:
    parser = cli.parser("utils.audit", "Find what is wrong or unusual in a data folder.")
    parser.add_argument("root", help="the data folder, which holds train.csv")
    parser.add_argument("--out", default="audit.csv", help="the table of findings")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    a = parser.parse_args()
    counts = summary(audit(a.root, a.out, a.jobs))
    print(counts[["findings", "studies", "example"]].to_string())
    print(a.out)


if __name__ == "__main__":
    cli.run(main)
