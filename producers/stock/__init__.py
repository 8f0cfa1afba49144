"""Stock lists and till exports of any form: cleaned, and published as counts."""
