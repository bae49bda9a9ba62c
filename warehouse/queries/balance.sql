-- Balance by source, domain, language and difficulty (share of right replies): what there is and what is kept
SELECT * FROM balance
