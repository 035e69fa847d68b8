"""The one loop that teachers, students and evaluations share: recipe, steps, stacked networks."""
