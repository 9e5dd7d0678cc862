"""``report.html``: one file with everything in it, that fetches nothing and trusts no text of others."""
