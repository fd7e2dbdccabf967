from django.contrib import admin
from django.urls import path

from diary import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("authors", views.authors),
    path("entries", views.entries),
    path("entries/<int:number>", views.entry),
    path("tally", views.tally),
]
