"""Distillers that select real images: what every learnt set is compared with."""
