import json

from django.db import transaction
from django.db.models import Count, F
from django.http import JsonResponse
from django.views.decorators.csrf import csrf_exempt

from .models import Author, Entry


@csrf_exempt
def authors(request):
    author, created = Author.objects.get_or_create(name=json.loads(request.body)["name"])
    return JsonResponse({"id": author.pk}, status=201 if created else 200)


@csrf_exempt
def entries(request):
    if request.method == "POST":
        new = json.loads(request.body)
        with transaction.atomic():
            Author.objects.filter(name=new["author"]).update(written=F("written") + 1)
            author = Author.objects.get(name=new["author"])
            entry = Entry.objects.create(author=author, number=new["number"], text=new["text"])
        return JsonResponse({"id": entry.pk}, status=201)
    return JsonResponse({"numbers": list(Entry.objects.order_by("number").values_list("number", flat=True))})


def entry(request, number):
    found = Entry.objects.select_related("author").get(number=number)
    return JsonResponse({"author": found.author.name, "text": found.text})


def tally(request):
    """What each author is said to have written, beside what is there: one statement, so one snapshot."""
    authors = Author.objects.annotate(found=Count("entry")).order_by("name")
    return JsonResponse({"authors": list(authors.values("name", "written", "found"))})
