from django.db import models


class Author(models.Model):
    name = models.CharField(max_length=100, unique=True)
    # How many entries there are, kept up in the transaction that adds one.
    written = models.IntegerField(default=0)


class Entry(models.Model):
    author = models.ForeignKey(Author, on_delete=models.CASCADE)
    number = models.IntegerField(unique=True)
    text = models.TextField()
    created = models.DateTimeField(auto_now_add=True, db_index=True)
