-- Diversity of all replies and of those kept: clusters, duplicates, effective numbers of sources, domains, languages
SELECT * FROM diversity
